"""What codes mean, and how Label Studio shows them."""

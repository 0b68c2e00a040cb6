"""Pages for those who manage the coding: a Flask blueprint that the web process gets handed, torch-free like it."""

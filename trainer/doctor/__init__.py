"""`winnow doctor`: looks at everything that Winnow needs, changes nothing, and says what to mend."""

"""What `check` and `plan` say, as data, text and HTML."""

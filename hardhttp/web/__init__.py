"""What users of ``twisted.web`` touch: the site and its requests."""

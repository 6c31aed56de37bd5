"""The definitions, one subject in each file or folder."""

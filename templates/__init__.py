"""What is shipped to a machine; see README.md."""

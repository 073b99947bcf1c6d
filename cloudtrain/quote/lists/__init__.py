"""Price lists beside each other and over time: what differs, and what one price was."""

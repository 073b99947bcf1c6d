"""What travels between the client and a rented machine: the bundle, its pieces, the ticket."""

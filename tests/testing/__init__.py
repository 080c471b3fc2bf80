"""What the end-to-end tests share: a broker to start, a client of its protocol, a load."""

"""What the end-to-end tests are made of: daemons, DNS, sinks, clients, the loss oracle."""

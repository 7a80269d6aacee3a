"""What there is to tell people of instances."""

"""The records of all instances, and how one of them is found and picked."""

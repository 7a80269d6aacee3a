"""What is known of one instance, what that amounts to, and how a status tells it."""

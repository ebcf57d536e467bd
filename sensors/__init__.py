"""What wakes the flow: new files, and what calls for people: failed gates and runs."""

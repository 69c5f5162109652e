"""Every kind of task and of data, through every command."""

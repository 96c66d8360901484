"""Media plane: the relay between caller and agent. Its own process, no asyncio, no logger."""

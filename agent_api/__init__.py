"""THE DESK: HTTP, event stream and console for agents; no business rule."""

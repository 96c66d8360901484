"""IVR flows, one file each; the file's name is the flow's name in a tenant file."""

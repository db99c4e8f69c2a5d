"""The steps that can be chosen by name, one file each: settings, checks, description, memory and how to build it."""

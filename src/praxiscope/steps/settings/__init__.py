"""The steps that can be chosen by name, one file each: settings, checks, description, memory rule and builder."""

"""Parts that networks are made of: consensus, temporal shift, normalisation.

Modules here know neither backbones nor data. Axis letters are those of ``praxiscope.types``.
"""

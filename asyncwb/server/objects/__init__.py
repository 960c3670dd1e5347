"""Whole byte strings under names that the server made up.

objects               the object store
checksums             what they must add up to
damage                what does not, and how readers are told
files                 files of runs: uploads and downloads
garbage_collection    deletes objects that nothing names any more
"""

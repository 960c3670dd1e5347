"""asyncwb.importers"""

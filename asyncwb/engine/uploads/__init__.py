"""asyncwb.engine.uploads"""

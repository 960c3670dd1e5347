"""asyncwb.engine.journal"""

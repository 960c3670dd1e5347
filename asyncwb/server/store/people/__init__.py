"""The statements of people.

users          users, sessions, login links
keys           API keys
teams          teams and who is in them
invitations    secrets that let others in
"""

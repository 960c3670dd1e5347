"""Accounts, teams, and what they may do.

accounts    accounts and API keys
teams       teams, members, invitations
people      all of these over HTTP
"""

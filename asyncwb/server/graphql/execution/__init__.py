"""asyncwb.server.graphql.execution"""

"""The Medplum side: one client with OAuth2, a points budget and typed errors."""

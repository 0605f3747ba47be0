"""What callkpi writes into a CRM: one module a CRM."""

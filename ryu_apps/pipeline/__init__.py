"""The OpenFlow shape of decisions: tables, registers, cookies, and entries as values."""

"""Prefect flows. Nothing outside this folder knows Prefect."""

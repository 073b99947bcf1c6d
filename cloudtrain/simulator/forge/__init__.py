"""Fake forges: GitHub's and GitLab's REST APIs, as far as notices use them, strict, with pages of two."""

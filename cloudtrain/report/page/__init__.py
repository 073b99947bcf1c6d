"""The report as one page of HTML: no script, no request, light and dark, on paper and on a phone."""

"""The storefront's web site: pages, a live stream, and the guard in front of both."""

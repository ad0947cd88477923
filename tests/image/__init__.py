"""The images, built and run as they are deployed: `make deploy-test`."""

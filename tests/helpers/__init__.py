"""Systems, campaigns, engines and models that the tests share."""

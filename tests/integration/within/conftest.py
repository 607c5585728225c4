from tests.integration.within.till import till as till

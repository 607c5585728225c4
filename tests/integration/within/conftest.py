from tests.integration.within.till import till as till
from tests.integration.within.waking import brief as brief
from tests.integration.within.waking import listener as listener

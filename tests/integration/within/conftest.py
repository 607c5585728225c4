from tests.integration.within.till import till as till
from tests.integration.within.waking import listener as listener
from tests.integration.within.waking import no_crier_outlives_its_test as no_crier_outlives_its_test

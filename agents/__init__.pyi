from .bundles.announcing import announce as announce
from .settings import TrainerSettings as TrainerSettings
from .settings import WorkerSettings as WorkerSettings
from .train import Train as Train
from .worker import Worker as Worker
from .working.tally import Tally as Tally

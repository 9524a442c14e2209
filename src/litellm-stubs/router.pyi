from typing import Any

from headrace.compat.litellm.values import AllowedFailsPolicy as AllowedFailsPolicy
from headrace.compat.litellm.values import CustomRoutingStrategyBase as CustomRoutingStrategyBase
from headrace.compat.litellm.values import Deployment as Deployment
from headrace.compat.litellm.values import DeploymentTypedDict as DeploymentTypedDict
from headrace.compat.litellm.values import GenericLiteLLMParams as GenericLiteLLMParams
from headrace.compat.litellm.values import LiteLLM_Params as LiteLLM_Params
from headrace.routing.groups import ModelGroupInfo as ModelGroupInfo
from headrace.compat.litellm.values import ModelInfo as ModelInfo
from headrace.compat.litellm.values import RetryPolicy as RetryPolicy
from headrace import Router as Router
from headrace.compat.litellm.more_errors import RouterRateLimitError as RouterRateLimitError

def __getattr__(name: str) -> Any: ...

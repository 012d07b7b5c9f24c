"""Kubernetes manifests for vLLM: a deployment with its probes and GPUs, a service, scaling and monitoring.

API versions: apps/v1, v1, autoscaling/v2, monitoring.coreos.com/v1 (Prometheus operator). vLLM's metrics as in
vllm/v1/metrics/loggers.py of 0.33.0.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from recommender.runtimes.recipe import Step
from recommender.types import GIB

# Resource names of the vendors' device plug-ins.
_GPU_RESOURCES = {"cuda": "nvidia.com/gpu", "rocm": "amd.com/gpu"}
# What the server's processes take of main memory beside the weights: what vLLM's own example requests
# (docs/deployment/k8s.md).
_PROCESS_GIB = 6
_CAPABILITIES = {"rocm": "SYS_PTRACE", "cpu": "SYS_NICE"}
_METRIC = "vllm:num_requests_waiting"
_METRIC_IN_THE_API = "vllm_num_requests_waiting"


@dataclass(frozen=True)
class Deployed:
    """What the manifests are filled in with. Names must have passed ``shell`` already: they stand in YAML as they are.

    ``memory_bytes`` of main memory hold the weights while they are loaded, and on a CPU all of the model.
    """

    model: str  # as it is served
    image: str
    arguments: tuple[str, ...]
    accelerator: str  # cuda, rocm or cpu
    gpus: int  # per replica
    weights_bytes: float  # to download
    memory_bytes: float
    threads: int = 0  # processor threads per replica; 0 leaves them to the cluster
    variable: str = ""  # NAME=value for its environment

    @property
    def name(self) -> str:
        """A DNS label that begins with a letter: lower case, digits and dashes, at most 63."""
        model = re.sub("[^a-z0-9]+", "-", self.model.rpartition("/")[2].lower()).strip("-")
        return f"vllm-{model}"[:50].rstrip("-")


def steps(deployed: Deployed) -> tuple[Step, ...]:
    """The manifests as files, in the order in which they are applied."""
    return (
        Step(
            "Kubernetes: deployment",
            deployment(deployed),
            "yaml",
            file_name="kubernetes/deployment.yaml",
            note="kubectl apply -f kubernetes/deployment.yaml -f kubernetes/service.yaml. A gated model needs "
            "kubectl create secret generic huggingface --from-literal=token=YOUR_TOKEN first.",
        ),
        Step(
            "Kubernetes: service",
            service(deployed),
            "yaml",
            file_name="kubernetes/service.yaml",
            note=f"kubectl port-forward service/{deployed.name} 8000 brings it to this machine: then the check and the "
            "measurement above hold for it.",
        ),
        Step(
            "Kubernetes: scaling",
            autoscaler(deployed),
            "yaml",
            file_name="kubernetes/autoscaler.yaml",
            note="Adds a replica when requests wait. It reads the metric through the Prometheus adapter, which needs "
            "the rule in kubernetes/adapter-rule.yaml.",
        ),
        Step(
            "Kubernetes: rule of the Prometheus adapter",
            adapter_rule(),
            "yaml",
            file_name="kubernetes/adapter-rule.yaml",
            note="Values for its Helm chart: a metric's name may have a colon in Prometheus, not in Kubernetes.",
        ),
        Step(
            "Kubernetes: monitoring",
            pod_monitor(deployed),
            "yaml",
            file_name="kubernetes/pod-monitor.yaml",
            note="For the Prometheus operator. Give it the label that your Prometheus selects monitors by, if any.",
        ),
    )


def deployment(deployed: Deployed) -> str:
    name = deployed.name
    memory_gib = _PROCESS_GIB + math.ceil(deployed.memory_bytes / GIB)
    arguments = _lines(12, *(f'- "{argument}"' for argument in deployed.arguments))
    variable, processor = _lines(12, *_variable(deployed)), _lines(14, *_processor(deployed))
    gpus, security = _lines(14, *_gpus(deployed)), _lines(10, *_security(deployed))
    return f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels:
    app: {name}
spec:
  replicas: 1
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      # Variables named after services would look like settings of vLLM.
      enableServiceLinks: false
      containers:
        - name: vllm
          image: {deployed.image}
          args:
{arguments}          ports:
            - name: http
              containerPort: 8000
          env:
            - name: HF_TOKEN
              valueFrom:
                secretKeyRef:
                  name: huggingface
                  key: token
                  optional: true
{variable}          resources:
            requests:
              memory: {memory_gib}Gi
{processor}{gpus}            limits:
              memory: {2 * memory_gib}Gi
{gpus}{security}          # Fetching and loading may take long: up to an hour before it counts as failed.
          startupProbe:
            httpGet:
              path: /health
              port: http
            periodSeconds: 10
            failureThreshold: 360
          readinessProbe:
            httpGet:
              path: /health
              port: http
            periodSeconds: 5
          livenessProbe:
            httpGet:
              path: /health
              port: http
            periodSeconds: 10
            failureThreshold: 6
          volumeMounts:
            - name: weights
              mountPath: /root/.cache/huggingface
            - name: shared-memory
              mountPath: /dev/shm
      volumes:
        # An empty folder per replica; a claim on shared storage saves the next download. Some repositories hold the
        # weights twice.
        - name: weights
          emptyDir:
            sizeLimit: {2 * math.ceil(deployed.weights_bytes / GIB) + 1}Gi
        - name: shared-memory
          emptyDir:
            medium: Memory
            sizeLimit: 2Gi
"""


def _lines(indent: int, *lines: str) -> str:
    """Lines of a block at this depth; nothing where there are none."""
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _gpus(deployed: Deployed) -> tuple[str, ...]:
    resource = _GPU_RESOURCES.get(deployed.accelerator)
    return (f'{resource}: "{deployed.gpus}"',) if resource else ()


def _processor(deployed: Deployed) -> tuple[str, ...]:
    return (f'cpu: "{deployed.threads}"',) if deployed.threads else ()


def _variable(deployed: Deployed) -> tuple[str, ...]:
    name, _, value = deployed.variable.partition("=")
    return (f"- name: {name}", f'  value: "{value}"') if name else ()


def _security(deployed: Deployed) -> tuple[str, ...]:
    """What a container needs beyond the usual there, as its docker command has it."""
    if deployed.accelerator not in _CAPABILITIES:
        return ()
    return (
        "securityContext:",
        "  seccompProfile:",
        "    type: Unconfined",
        "  capabilities:",
        f"    add: [{_CAPABILITIES[deployed.accelerator]}]",
    )


def service(deployed: Deployed) -> str:
    name = deployed.name
    return f"""apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector:
    app: {name}
  ports:
    - name: http
      port: 8000
      targetPort: http
"""


def autoscaler(deployed: Deployed) -> str:
    name = deployed.name
    return f"""apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {name}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {name}
  minReplicas: 1
  maxReplicas: 4
  metrics:
    - type: Pods
      pods:
        metric:
          name: {_METRIC_IN_THE_API}
        # One request that waits, on average, means that the batches are full.
        target:
          type: AverageValue
          averageValue: "1"
"""


def adapter_rule() -> str:
    return f"""rules:
  custom:
    - seriesQuery: '{_METRIC}{{namespace!="",pod!=""}}'
      resources:
        overrides:
          namespace:
            resource: namespace
          pod:
            resource: pod
      name:
        matches: "^{_METRIC}$"
        as: "{_METRIC_IN_THE_API}"
      metricsQuery: "sum(<<.Series>>{{<<.LabelMatchers>>}}) by (<<.GroupBy>>)"
"""


def pod_monitor(deployed: Deployed) -> str:
    name = deployed.name
    return f"""apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {name}
spec:
  selector:
    matchLabels:
      app: {name}
  podMetricsEndpoints:
    - port: http
      path: /metrics
      interval: 15s
"""

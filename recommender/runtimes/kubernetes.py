"""Kubernetes manifests for vLLM: a deployment with its probes and GPUs, a service, scaling and monitoring.

API versions: apps/v1, v1, autoscaling/v2, monitoring.coreos.com/v1 (Prometheus operator). vLLM's metrics as in
vllm/v1/metrics/loggers.py of 0.33.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from recommender.runtimes.recipe import Step

# Resource names of the vendors' device plug-ins.
_GPU_RESOURCES = {"cuda": "nvidia.com/gpu", "rocm": "amd.com/gpu"}
_METRIC = "vllm:num_requests_waiting"
_METRIC_IN_THE_API = "vllm_num_requests_waiting"


@dataclass(frozen=True)
class Deployed:
    """What the manifests are filled in with."""

    model: str  # as it is served
    image: str
    arguments: tuple[str, ...]
    accelerator: str  # cuda, rocm or "" for the CPU
    gpus: int  # per replica
    memory_gib: int  # of main memory per replica
    disk_gib: int  # for the weights

    @property
    def name(self) -> str:
        """A DNS label: lower case, digits and dashes, at most 63 letters."""
        return re.sub("[^a-z0-9]+", "-", self.model.rpartition("/")[2].lower()).strip("-")[:50].strip("-") or "model"


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
        Step("Kubernetes: service", service(deployed), "yaml", file_name="kubernetes/service.yaml"),
        Step(
            "Kubernetes: scaling",
            autoscaler(deployed),
            "yaml",
            file_name="kubernetes/autoscaler.yaml",
            note="Adds a replica when requests wait. It reads the metric through the Prometheus adapter, which needs "
            "the rule in kubernetes/adapter-rule.yaml.",
        ),
        Step("Kubernetes: metric of the adapter", adapter_rule(), "yaml", file_name="kubernetes/adapter-rule.yaml"),
        Step("Kubernetes: monitoring", pod_monitor(deployed), "yaml", file_name="kubernetes/pod-monitor.yaml"),
    )


def deployment(deployed: Deployed) -> str:
    name = deployed.name
    gpu = _GPU_RESOURCES.get(deployed.accelerator, "")
    gpu_lines = f'              {gpu}: "{deployed.gpus}"\n' if gpu else ""
    arguments = "\n".join(f'            - "{argument}"' for argument in deployed.arguments)
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
      containers:
        - name: vllm
          image: {deployed.image}
          args:
{arguments}
          ports:
            - name: http
              containerPort: 8000
          env:
            - name: HF_TOKEN
              valueFrom:
                secretKeyRef:
                  name: huggingface
                  key: token
                  optional: true
          resources:
            requests:
              memory: {deployed.memory_gib}Gi
{gpu_lines}            limits:
              memory: {2 * deployed.memory_gib}Gi
{gpu_lines}          # Fetching and loading may take long: up to an hour before it counts as failed.
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
        # An empty folder per replica; a claim on shared storage saves the next download.
        - name: weights
          emptyDir:
            sizeLimit: {deployed.disk_gib}Gi
        - name: shared-memory
          emptyDir:
            medium: Memory
            sizeLimit: 2Gi
"""


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

// Copies one buffer into another for a while, and answers with bytes moved per second.

let from, to;

onmessage = ({ data: { prepare, run } }) => {
  if (prepare) {
    from = new Float64Array(prepare / 8).fill(1);
    to = new Float64Array(prepare / 8);
    to.set(from); // the pages are there before the clock runs
    postMessage(true);
    return;
  }
  const start = performance.now();
  let copies = 0;
  let passed = 0;
  while (passed < run) {
    to.set(from);
    copies += 1;
    passed = performance.now() - start;
  }
  postMessage((2 * from.byteLength * copies) / (passed / 1000));
};

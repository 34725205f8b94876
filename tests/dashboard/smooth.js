// Frames and long tasks of the page, for so many seconds.
const [seconds, done] = arguments;
const frames = [], long = [];
const observer = new PerformanceObserver((list) => list.getEntries().forEach((entry) => long.push(entry.duration)));
observer.observe({ type: "longtask" });
const start = performance.now();
let last = start;

function frame() {
  const now = performance.now();
  frames.push(now - last);
  last = now;
  if (now - start < seconds * 1000) return requestAnimationFrame(frame);
  observer.disconnect();
  frames.sort((a, b) => a - b);
  const rounded = (number) => Math.round(number * 10) / 10;
  const percentile = (share) => rounded(frames[Math.min(frames.length - 1, Math.floor(frames.length * share))]);
  done({
    frames_per_s: rounded(frames.length / seconds),
    frame_p50_ms: percentile(0.5),
    frame_p95_ms: percentile(0.95),
    frame_max_ms: percentile(1),
    long_tasks: long.length,
    longest_ms: rounded(Math.max(0, ...long)),
    busy_share: Math.round(long.reduce((sum, time) => sum + time, 0) / seconds / 10) / 100,
    nodes: document.getElementsByTagName("*").length,
    heap_bytes: performance.memory.usedJSHeapSize,
  });
}

requestAnimationFrame(frame);

// Every kind of field, settings, values, all outcomes, and what must fail.
import { bool, float, int, log, mapper, observe, rejected, text } from "./stillhouse.js";

const answers = {
  int: ({ count }) => observe("up", "int", { value: count > 9 ? "many" : count < 0 ? "less than none" : "few" }),
  float: ({ load }) => observe("down", "float", load > 0.5 ? { severity: "critical" } : {}),
  bool: ({ up }) => observe(up ? "up" : "gone", "bool"),
  absent: ({ count, load, up }) => observe(count === null && load === null && up === null ? "gone" : "up", "absent"),
  limit: (_, limit) => observe("up", limit),
  log: () => (log("a line"), observe("up", "log")),
  reasons: ({ count }) => rejected("reason " + String.fromCharCode(65 + count / 26) + String.fromCharCode(65 + (count % 26))),
  boom: () => { throw new Error("boom"); },
  clock: () => observe("up", `${Date.now()}`),
  random: () => observe("up", `${Math.random()}`),
};

export const mapperRule = mapper({
  name: "wide",
  version: "1.2.3",
  schema: 4,
  fields: {
    what: text("data.what"),
    count: int("data.count").optional(),
    load: float("data.load").optional(),
    up: bool("data.up").optional(),
  },
  states: { up: "healthy", down: "problem", gone: "gone" },
  configure(settings) {
    for (const name in settings) if (name !== "limit") throw new Error("expected the setting `limit`");
    return settings.limit ?? "no limit";
  },
  map: (row, limit) => answers[row.what](row, limit),
  cases: [
    { name: "up", given: { "data.what": "bool", "data.up": "true" }, expected: observe("up", "bool") },
    { name: "down", given: { "data.what": "float", "data.load": "0.25" }, expected: observe("down", "float") },
    { name: "gone", given: { "data.what": "bool", "data.up": "false" }, expected: observe("gone", "bool") },
  ],
});

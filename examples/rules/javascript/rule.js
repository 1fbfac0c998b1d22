// Which pods are ready: a mapper in JavaScript.
import { dropped, mapper, observe, text } from "./stillhouse.js";

export const mapperRule = mapper({
  name: "probe",
  version: "0.1.0",
  schema: 1,
  fields: {
    pod: text("data.pod"), // a signal without it is rejected
    status: text("data.status").optional(), // null where it is absent
  },
  states: { ready: "healthy", "not-ready": "problem" },
  map(signal) {
    if (signal.status === "ready") return observe("ready", signal.pod);
    if (signal.status === "") return observe("not-ready", signal.pod, { severity: "error" });
    return dropped("not about readiness");
  },
  cases: [
    {
      name: "ready",
      given: { "data.pod": "shop/cart-1", "data.status": "ready" },
      expected: observe("ready", "shop/cart-1"),
    },
    {
      name: "not ready",
      given: { "data.pod": "shop/cart-1", "data.status": "" },
      expected: observe("not-ready", "shop/cart-1", { severity: "error" }),
    },
    {
      name: "another status",
      given: { "data.pod": "shop/cart-1", "data.status": "starting" },
      expected: dropped("not about readiness"),
    },
  ],
});

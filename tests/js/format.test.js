import assert from "node:assert/strict";
import { test } from "node:test";
import { count, percent, seconds, si, significant } from "../../static/js/state/format.js";

test("numbers are written as Intl writes them", () => {
  for (let i = 0; i < 4000; i++) {
    const value = (i % 2 ? -1 : 1) * 10 ** (((i * 37) % 1100) / 100 - 4) * (1 + (i % 97) / 97);
    const size = Math.abs(value);
    const decimals = size >= 100 ? 0 : Math.min(6, 2 - Math.floor(Math.log10(size)));
    const intl = new Intl.NumberFormat("en", { maximumFractionDigits: decimals });
    assert.equal(significant(value), intl.format(value), `${value}`);
    assert.equal(count(Math.round(size)), intl.format(Math.round(size)));
  }
});

test("units, and the edges between them", () => {
  assert.equal(significant(0), "0");
  assert.equal(significant(999.7), "1,000");
  assert.equal(significant(100), "100");
  assert.equal(significant(20.0), "20");
  assert.equal(count(1234567), "1,234,567");
  assert.equal(si(999.6, "B"), "1\u202fkB");
  assert.equal(si(23040, "B"), "23\u202fkB");
  assert.equal(seconds(0.0123), "12.3\u202fms");
  assert.equal(percent(0.0001), "<\u202f0.1\u202f%");
});

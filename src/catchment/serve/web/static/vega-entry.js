// What the bundle of Vega is made of: canvas drawing, the transforms that specifications use, and d3's number format.
// Its expressions run in the interpreter, so that pages need no `unsafe-eval`.
import { transforms, changeset } from "https://cdn.jsdelivr.net/npm/vega-dataflow@6.1.0/+esm";
import * as basic from "https://cdn.jsdelivr.net/npm/vega-transforms@5.1.0/+esm";
import * as view from "https://cdn.jsdelivr.net/npm/vega-view-transforms@5.1.0/+esm";
import * as encode from "https://cdn.jsdelivr.net/npm/vega-encode@5.1.0/+esm";
import { View } from "https://cdn.jsdelivr.net/npm/vega-view@6.1.0/+esm";
import { parse } from "https://cdn.jsdelivr.net/npm/vega-parser@7.1.0/+esm";
import { expressionInterpreter } from "https://cdn.jsdelivr.net/npm/vega-interpreter@2.0.0/+esm";
import { format } from "https://cdn.jsdelivr.net/npm/d3-format@3.1.0/+esm";
Object.assign(transforms, basic, view, encode);
export { View, parse, changeset, expressionInterpreter, format };

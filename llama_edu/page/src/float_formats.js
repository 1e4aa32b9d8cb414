/**
 * Numbers as bits: a sign, an exponent, a mantissa. Any format of that kind with at most 32 bits is
 * read and written here in float64, which holds every value of all of them exactly.
 */

/**
 * @typedef {object} FloatFormat
 * @property {string} name
 * @property {number} exponent bits of the exponent
 * @property {number} mantissa bits of the mantissa
 * @property {boolean} hasInfinity false where all ones of the exponent are numbers too, all but NaN
 */

/** @type {FloatFormat[]} */
export const FLOAT_FORMATS = [
  { name: "float32", exponent: 8, mantissa: 23, hasInfinity: true },
  { name: "bfloat16", exponent: 8, mantissa: 7, hasInfinity: true },
  { name: "float16", exponent: 5, mantissa: 10, hasInfinity: true },
  { name: "float8 (E4M3)", exponent: 4, mantissa: 3, hasInfinity: false },
];

/** @param {FloatFormat} format */
export const bitCount = ({ exponent, mantissa }) => 1 + exponent + mantissa;

/** @param {FloatFormat} format */
const bias = ({ exponent }) => 2 ** (exponent - 1) - 1;

/** The code of the largest finite number. @param {FloatFormat} format */
function largestCode({ exponent, mantissa, hasInfinity }) {
  const ones = 2 ** exponent - 1;
  // Without an infinity, only the very last code is no number.
  return hasInfinity ? ones * 2 ** mantissa - 1 : (ones + 1) * 2 ** mantissa - 2;
}

/**
 * What a code stands for, with its parts. A code is the bits read as a whole number.
 * @param {FloatFormat} format @param {number} code
 */
export function decoded(format, code) {
  const { exponent, mantissa } = format;
  const half = 2 ** (exponent + mantissa);
  const isNegative = code >= half;
  const size = code % half;
  const field = Math.floor(size / 2 ** mantissa);
  const fraction = (size % 2 ** mantissa) / 2 ** mantissa;
  const isNumber = size <= largestCode(format);
  const isSubnormal = field === 0;
  const power = isSubnormal ? 1 - bias(format) : field - bias(format);
  const significand = (isSubnormal ? 0 : 1) + fraction;
  const magnitude = isNumber
    ? significand * 2 ** power
    : format.hasInfinity && fraction === 0
      ? Infinity
      : NaN;
  return { value: isNegative ? -magnitude : magnitude, isNegative, power, significand, isSubnormal };
}

/**
 * The code of the nearest number; of two equally near, the one whose last bit is 0. What lies
 * beyond the largest becomes infinity, or NaN where there is none.
 * @param {FloatFormat} format @param {number} value
 */
export function encoded(format, value) {
  const { exponent, mantissa, hasInfinity } = format;
  const half = 2 ** (exponent + mantissa);
  const sign = value < 0 || Object.is(value, -0) ? half : 0;
  const notANumber = hasInfinity ? half - 2 ** (mantissa - 1) : half - 1;
  if (Number.isNaN(value)) return notANumber;
  const largest = largestCode(format);
  const beyond = hasInfinity ? largest + 1 : notANumber;
  const size = Math.abs(value);
  if (size === Infinity) return sign + beyond;
  let power = Math.max(1 - bias(format), Math.floor(Math.log2(size)));
  if (2 ** power > size) power = Math.max(1 - bias(format), power - 1); // the logarithm was rounded
  if (2 ** (power + 1) <= size) power += 1;
  const steps = size / 2 ** (power - mantissa); // exact: a power of two divides it
  const below = Math.floor(steps);
  const up = steps - below > 0.5 || (steps - below === 0.5 && below % 2 === 1);
  // Counted in steps, the codes of one power follow those of the one before.
  const code = (power - 1 + bias(format)) * 2 ** mantissa + below + Number(up);
  return sign + (code > largest ? beyond : code);
}

/**
 * The numbers around a code, from two below to two above, in the order of their size; those that
 * do not exist are left out.
 * @param {FloatFormat} format @param {number} code
 */
export function around(format, code) {
  const half = 2 ** (format.exponent + format.mantissa);
  // −0 and +0 are one place on the line.
  const place = code >= half ? half - code : code;
  const largest = largestCode(format);
  const places = [-2, -1, 0, 1, 2].map((step) => place + step).filter((at) => Math.abs(at) <= largest);
  return places.map((at) => decoded(format, at < 0 ? half - at : at).value);
}

package dynamodb

import (
	"math/big"
	"strconv"
	"strings"
)

// A number is a decimal of up to 38 digits: coefficient × 10^exponent. Its
// coefficient does not end in 0, so equal numbers have equal fields.
type number struct {
	coefficient *big.Int
	exponent    int
}

const (
	maxDigits   = 38
	maxExponent = 125 // of the first digit
	minExponent = -130
)

func parseNumber(text string) (number, error) {
	bad := invalid("The parameter cannot be converted to a numeric value: %s", text)
	mantissa, exp, hasExp := strings.Cut(strings.ToLower(strings.TrimSpace(text)), "e")
	exponent := 0
	if hasExp {
		var err error
		if exponent, err = strconv.Atoi(exp); err != nil || exponent > 1000 || exponent < -1000 {
			return number{}, bad
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole, "+-") + fraction
	if len(whole)-len(strings.TrimLeft(whole, "+-")) > 1 || digits == "" || strings.Trim(digits, "0123456789") != "" || len(digits) > 1000 {
		return number{}, bad
	}
	c, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return number{}, bad
	}
	if strings.HasPrefix(whole, "-") {
		c.Neg(c)
	}
	return normal(c, exponent-len(fraction))
}

var ten = big.NewInt(10)

// normal returns the number c × 10^exponent, or why DynamoDB has no such number.
func normal(c *big.Int, exponent int) (number, error) {
	if c.Sign() == 0 {
		return number{new(big.Int), 0}, nil
	}
	c = new(big.Int).Set(c)
	for q, r := new(big.Int), new(big.Int); ; exponent++ {
		if q.QuoRem(c, ten, r); r.Sign() != 0 {
			break
		}
		c.Set(q)
	}
	digits := len(new(big.Int).Abs(c).String())
	switch first := digits + exponent - 1; {
	case digits > maxDigits:
		return number{}, invalid("Attempting to store more than 38 significant digits in a Number")
	case first > maxExponent:
		return number{}, invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
	case first < minExponent:
		return number{}, invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
	}
	return number{c, exponent}, nil
}

// align returns the coefficients of two numbers for the smaller exponent of them.
func align(a, b number) (x, y *big.Int, exponent int) {
	exponent = min(a.exponent, b.exponent)
	scale := func(n number) *big.Int {
		return new(big.Int).Mul(n.coefficient, new(big.Int).Exp(ten, big.NewInt(int64(n.exponent-exponent)), nil))
	}
	return scale(a), scale(b), exponent
}

func (a number) cmp(b number) int {
	x, y, _ := align(a, b)
	return x.Cmp(y)
}

func (a number) add(b number) (number, error) {
	x, y, e := align(a, b)
	return normal(x.Add(x, y), e)
}

func (a number) neg() number { return number{new(big.Int).Neg(a.coefficient), a.exponent} }

// String writes the number without an exponent.
func (a number) String() string {
	if a.coefficient == nil {
		return "0"
	}
	digits := new(big.Int).Abs(a.coefficient).String()
	sign := ""
	if a.coefficient.Sign() < 0 {
		sign = "-"
	}
	switch point := len(digits) + a.exponent; {
	case a.exponent >= 0:
		return sign + digits + strings.Repeat("0", a.exponent)
	case point > 0:
		return sign + digits[:point] + "." + digits[point:]
	default:
		return sign + "0." + strings.Repeat("0", -point) + digits
	}
}

"""The shop's indexes besides those of keys, and how statistics are kept: what its migrations have run over the years."""

from dataclasses import dataclass

from lab.problems import version

Ddl = tuple[str, ...]

_EVERYWHERE: Ddl = (
    "CREATE INDEX ix_products_department_sku ON products (department, sku)",
    "CREATE INDEX ix_products_brand_sku ON products (brand, sku)",
    "CREATE INDEX ix_orders_placed_at_id ON orders (placed_at, id)",
    "CREATE INDEX ix_shipments_carrier_shipped_at ON shipments (carrier, shipped_at)",
    "CREATE INDEX ix_reviews_product_written_at ON reviews (product_id, written_at)",
    "CREATE INDEX ix_reviews_customer ON reviews (customer_id)",
)


def line_index_by_product() -> Ddl:
    """Orders are found by their products."""
    return ("CREATE INDEX ix_order_lines_product ON order_lines (product_id)",)  # planted: order-lines


def line_indexes_by_both_keys() -> Ddl:
    """Orders are found by their products, and lines by their order."""
    return (*line_index_by_product(), "CREATE INDEX ix_order_lines_order ON order_lines (order_id)")


line_indexes = version("order-lines", planted=line_index_by_product, sound=line_indexes_by_both_keys)


def email_index_as_typed() -> Ddl:
    """Nobody registers twice."""
    return ("CREATE UNIQUE INDEX ix_customers_email ON customers (email)",)  # planted: email-lookup


def email_index_in_lower_case() -> Ddl:
    """Nobody registers twice, however the address is typed."""
    return ("CREATE UNIQUE INDEX ix_customers_lower_email ON customers (lower(email))",)


email_indexes = version("email-lookup", planted=email_index_as_typed, sound=email_index_in_lower_case)


def no_text_index() -> Ddl:
    """The catalogue is small enough to be searched as it is."""
    return ()  # planted: product-search


def text_index_by_trigrams() -> Ddl:
    """Parts of words are found without reading every description."""
    return ("CREATE INDEX ix_products_description ON products USING gin (description gin_trgm_ops)",)


text_indexes = version("product-search", planted=no_text_index, sound=text_index_by_trigrams)


def no_booking_index() -> Ddl:
    """Payments are found by their order; everything else about them is for the end of the month."""
    return ()  # planted: payment-pauses


def booking_index_by_time() -> Ddl:
    """Payments are read in the order in which they were booked."""
    return ("CREATE INDEX ix_payments_booked_at_id ON payments (booked_at, id)",)


booking_indexes = version("payment-pauses", planted=no_booking_index, sound=booking_index_by_time)


def order_indexes_by_customer_twice() -> Ddl:
    """Every foreign key has its index, and the customer's page its own."""
    return (*order_index_by_customer(), "CREATE INDEX ix_orders_customer ON orders (customer_id)")  # planted: customer-orders-index


def order_index_by_customer() -> Ddl:
    """The customer's page lists orders, the newest first."""
    return ("CREATE INDEX ix_orders_customer_placed_at ON orders (customer_id, placed_at)",)


order_indexes = version("customer-orders-index", planted=order_indexes_by_customer_twice, sound=order_index_by_customer)


def all_indexes() -> Ddl:
    """Every CREATE INDEX of this version of the shop, without extensions that they need."""
    return (*_EVERYWHERE, *line_indexes(), *email_indexes(), *text_indexes(), *booking_indexes(), *order_indexes())


@dataclass(frozen=True)
class Import:
    """What is run before and after the shipments of the shop that was taken over are loaded."""

    before: Ddl
    after: Ddl


def import_without_autovacuum() -> Import:
    """Autovacuum must not get in the way of the import."""
    before = ("ANALYZE shipments", "ALTER TABLE shipments SET (autovacuum_enabled = off)")
    return Import(before, after=())  # planted: carrier-turnover


def import_with_analyze() -> Import:
    """The planner has to know what came."""
    return Import(before=("ANALYZE shipments",), after=("VACUUM (ANALYZE) shipments",))


shipment_import = version("carrier-turnover", planted=import_without_autovacuum, sound=import_with_analyze)

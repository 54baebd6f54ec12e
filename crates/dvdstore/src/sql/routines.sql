-- Restocking. In the same transaction as the sale that made it necessary, and written down exactly, so that
-- initial stock - units sold + units reordered = stock at any time.
CREATE FUNCTION godwit_restock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO reorder (prod_id, date_low, quan_low, date_reordered, quan_reordered, date_expected)
    VALUES (NEW.prod_id, current_date, NEW.quan_in_stock, current_date, 250 - NEW.quan_in_stock, current_date);
    NEW.quan_in_stock := 250;
    RETURN NEW;
END $$;
CREATE TRIGGER restock BEFORE UPDATE OF quan_in_stock ON inventory
    FOR EACH ROW WHEN (NEW.quan_in_stock < 3 AND NEW.quan_in_stock < OLD.quan_in_stock)
    EXECUTE FUNCTION godwit_restock();

-- One purchase, in the caller's transaction. `a_products` ascends, so purchases lock stock in one order and never
-- deadlock. Stock is checked and taken by the same statement, so no sale is lost. Too little stock raises GW001,
-- which rolls everything back.
CREATE FUNCTION godwit_purchase(a_token uuid, a_customer int, a_products int[], a_quantities smallint[])
    RETURNS TABLE (r_orderid int, r_net_cents bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_net numeric(12,2);
    v_tax numeric(12,2);
BEGIN
    SELECT sum(p.price * l.quantity) INTO STRICT v_net
      FROM unnest(a_products, a_quantities) AS l (prod_id, quantity)
      JOIN products p ON p.prod_id = l.prod_id;
    v_tax := round(v_net * 0.0825, 2);
    INSERT INTO orders (orderdate, customerid, netamount, tax, totalamount, token)
    VALUES (current_date, a_customer, v_net, v_tax, v_net + v_tax, a_token)
    RETURNING orderid INTO STRICT r_orderid;
    FOR i IN 1 .. cardinality(a_products) LOOP
        UPDATE inventory
           SET quan_in_stock = quan_in_stock - a_quantities[i], sales = sales + a_quantities[i]
         WHERE prod_id = a_products[i] AND quan_in_stock >= a_quantities[i];
        IF NOT FOUND THEN
            RAISE EXCEPTION 'too little stock of product %', a_products[i] USING ERRCODE = 'GW001';
        END IF;
    END LOOP;
    INSERT INTO orderlines (orderlineid, orderid, prod_id, quantity, orderdate)
    SELECT l.n, r_orderid, l.prod_id, l.quantity, current_date
      FROM unnest(a_products, a_quantities) WITH ORDINALITY AS l (prod_id, quantity, n);
    INSERT INTO cust_hist (customerid, orderid, prod_id)
    SELECT a_customer, r_orderid, l.prod_id FROM unnest(a_products) AS l (prod_id);
    r_net_cents := (v_net * 100)::bigint;
    RETURN NEXT;
END $$;
